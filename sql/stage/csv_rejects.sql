-- Adds the lines that are not valid CSV. A line with several errors is refused for the first one.
INSERT INTO staged BY NAME
SELECT line, 'line is no CSV: ' || arg_min(error_message, byte_position) AS reason, coalesce(any_value(csv_line), '') AS raw FROM reject_errors GROUP BY line;
