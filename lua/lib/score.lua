-- An index entry's score is pod index * STEP + epoch; epochs begin at START, 2025-01-01, ms since 1970.
local STEP, START = 1099511627776, 1735689600000
