-- Begins the epoch of this process, unless an earlier commit of it did.
INSERT INTO {{store}}.epochs SELECT {{first_seq}}, {{epoch}}::UUID WHERE NOT EXISTS (FROM {{store}}.epochs WHERE id = {{epoch}}::UUID);
