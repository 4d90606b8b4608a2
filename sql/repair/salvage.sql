-- Copies the rows of a range of a damaged store.
INSERT INTO {{table}} BY NAME SELECT * FROM {{source}}.main.{{table}} WHERE rowid >= {{from}} AND rowid < {{to}};
