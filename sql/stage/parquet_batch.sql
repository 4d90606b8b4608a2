-- The rows of one batch. Its first and its last record may have rows of others. The condition is no comparison of a column with a
-- constant: of those DuckDB thinks that a reader of Arrow sees to them.
FROM {{rows}} WHERE (line - 1) // {{most}} = {{batch}}
