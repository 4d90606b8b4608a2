-- What was no CSV at all: a line may have several faults, and is refused for the first.
INSERT INTO staged BY NAME
SELECT line, 'line is no CSV: ' || arg_min(error_message, byte_position) AS reason, coalesce(any_value(csv_line), '') AS raw FROM reject_errors GROUP BY line;
