"""What the code of a municipality says: IBGE numbers them by state, and states by region."""

SHAPE = "^[0-9]{7}$"
STATES = {
    "11": "RO", "12": "AC", "13": "AM", "14": "RR", "15": "PA", "16": "AP", "17": "TO",
    "21": "MA", "22": "PI", "23": "CE", "24": "RN", "25": "PB", "26": "PE", "27": "AL", "28": "SE", "29": "BA",
    "31": "MG", "32": "ES", "33": "RJ", "35": "SP",
    "41": "PR", "42": "SC", "43": "RS",
    "50": "MS", "51": "MT", "52": "GO", "53": "DF",
}  # fmt: skip
"""First two digits of a code -> state."""
REGIONS = {"1": "North", "2": "Northeast", "3": "Southeast", "4": "South", "5": "Centre-West"}
"""First digit of a code -> region."""
