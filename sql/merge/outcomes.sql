SELECT count(*) FILTER (outcome = 'new'),
       count(*) FILTER (outcome IN ('changed', 'moved')),
       count(*) FILTER (outcome = 'moved'),
       count(*) FILTER (outcome = 'unchanged'),
       count(*) FILTER (outcome = 'superseded')
FROM delta;
