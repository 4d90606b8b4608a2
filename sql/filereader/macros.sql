-- Converts a text column to JSON. A text that is not valid JSON becomes a JSON string.
CREATE MACRO text_to_json(value) AS
    CASE WHEN trim(value) IN ('', 'null') THEN NULL WHEN json_valid(value) THEN json(value) ELSE to_json(value) END;
