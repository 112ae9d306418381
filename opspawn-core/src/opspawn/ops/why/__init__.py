"""Why a task does not go on, or what it does."""
