COMMENT ON COLUMN {{export}}.{{column}} IS {{text}};
