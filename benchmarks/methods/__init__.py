"""The comparison of methods: studies and methods, cells and how they run, the kept table, and its page."""
