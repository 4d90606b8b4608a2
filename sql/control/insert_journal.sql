INSERT INTO journal (line) SELECT unnest(from_json($lines, '["VARCHAR"]'));
