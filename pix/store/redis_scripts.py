"""Lua of the store on Redis or Valkey: what must happen in one step.

A change of the queue comes as one packed argument: id, content before, content after, places to take away, places to
add; an empty content means that the entry is not there. Every place stands in one sorted set with equal scores, so
that the server keeps it in the order of its bytes; it is followed by a zero byte and the entry's id.
"""

from hashlib import sha1

import msgpack

from pix.store.interface import QueueChange

QUEUE_HASH, PLACES_SET = "queue", "queue-places"

_QUEUE = f"""
local function holds(change) return (redis.call('HGET', '{QUEUE_HASH}', change[1]) or '') == change[2] end
local function apply(change)
  if change[3] == '' then redis.call('HDEL', '{QUEUE_HASH}', change[1])
  else redis.call('HSET', '{QUEUE_HASH}', change[1], change[3]) end
  for _, place in ipairs(change[4]) do redis.call('ZREM', '{PLACES_SET}', place) end
  for _, place in ipairs(change[5]) do redis.call('ZADD', '{PLACES_SET}', 0, place) end
end
"""

COMMIT = (
    """
-- KEYS: book, record, outbox, then states.  ARGV: generation, record, envelope, record id,
-- then per state the expected number and the new value, then the change of the queue, if there is one.
local known = redis.call('GET', KEYS[2])
if known then return {'known', known} end
local moved = {'raced'}
if (redis.call('HGET', KEYS[1], 'current') or '0') ~= ARGV[1] then moved[#moved + 1] = 'generation' end
for i = 4, #KEYS do
  local found = redis.call('GETRANGE', KEYS[i], 0, 7)
  if found ~= ARGV[2 * i - 3] then moved[#moved + 1] = KEYS[i] end
end
if #ARGV >= 2 * #KEYS - 1 then
"""
    + _QUEUE
    + """
  local change = cmsgpack.unpack(ARGV[#ARGV])
  if not holds(change) then moved[#moved + 1] = 'queue' end
  if #moved == 1 then apply(change) end
end
if #moved > 1 then return moved end
for i = 4, #KEYS do redis.call('SET', KEYS[i], ARGV[2 * i - 2]) end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[4], ARGV[3])
return {'committed'}
"""
)
COMMIT_SHA = sha1(COMMIT.encode(), usedforsecurity=False).hexdigest()

CHANGE_QUEUE = (
    _QUEUE
    + """
-- ARGV: changes of the queue; answers how many still held.
local changed = 0
for _, packed in ipairs(ARGV) do
  local change = cmsgpack.unpack(packed)
  if holds(change) then
    apply(change)
    changed = changed + 1
  end
end
return changed
"""
)


def packed(change: QueueChange) -> bytes:
    """A change as the scripts read it; they know no bin type of msgpack."""
    before, after = ((entry.content, entry.places) if entry else (b"", ()) for entry in change)
    places = [[placed(place, change.id) for place in each[1]] for each in (before, after)]
    told: bytes = msgpack.packb([change.id, before[0], after[0], *places], use_bin_type=False)
    return told


def placed(place: str, entry_id: str) -> bytes:
    """A place and whose it is, as they stand in the sorted set."""
    return f"{place}\0{entry_id}".encode()
