-- Selects one page of changes after row $id of commit $seq, sorted by commit and id: current rows and tombstones. Rows that
-- do not match the filter are left out up to commit $loaded, and later ones are like deleted rows without a time. The inner
-- query sorts narrow columns only; the rows of the page are fetched afterwards.
WITH page AS MATERIALIZED (
    FROM (SELECT _seq AS seq, id AS row_id, CASE WHEN {{where}} THEN rowid END AS place, NULL::TIMESTAMPTZ AS deleted_at FROM {{dataset}}
          WHERE _seq >= $seq AND (_seq > $seq OR id > $id::UUID) AND (({{where}}) OR _seq > $loaded)
          ORDER BY seq, row_id LIMIT $limit)
    UNION ALL
    FROM (SELECT _seq, id, NULL, deleted_at FROM tombstones
          WHERE dataset = {{dataset_name}} AND _seq >= $seq AND (_seq > $seq OR id > $id::UUID)
          ORDER BY _seq, id LIMIT $limit)
    ORDER BY seq, row_id LIMIT $limit
)
SELECT seq, row_id::VARCHAR,
       CASE WHEN place IS NOT NULL THEN to_json({{item}}) ELSE to_json({'id': row_id, 'deleted': true, 'deleted_at': iso(deleted_at)}) END::VARCHAR
FROM page LEFT JOIN {{dataset}} ON {{dataset}}.rowid = place
ORDER BY seq, row_id;
