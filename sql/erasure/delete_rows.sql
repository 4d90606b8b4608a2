DELETE FROM {{store}}.{{dataset}} WHERE rowid IN (SELECT place FROM leaving);
