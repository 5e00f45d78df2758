"""Steps as tables: facts in, changes out."""
