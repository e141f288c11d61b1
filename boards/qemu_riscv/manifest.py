# What is frozen. Level 1 drops asserts and keeps line numbers.
freeze("$(PORT_DIR)/../modules", opt=1)
include("$(MPY_DIR)/extmod/asyncio")
