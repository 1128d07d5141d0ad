"""nano-SUPERB: students of a small HuBERT on five small tasks; cells, recipes, kept rows and the page."""
