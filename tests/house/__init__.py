"""The house rules that no linter knows: what locals and classes are called, and how the rooms are filled."""
