-- Begins the commits of a restored store with a gap of {{gap}} numbers. No commit had or will have a number in the gap, so
-- that the numbers of the commits that were lost are not taken again: the epoch of the gap shows them.
INSERT INTO {{store}}.epochs SELECT seq + 1, {{lost}}::UUID FROM {{store}}.clock;
INSERT INTO {{store}}.epochs SELECT seq + {{gap}}, {{epoch}}::UUID FROM {{store}}.clock;
UPDATE {{store}}.clock SET seq = seq + {{gap}}, unpublished = json_merge_patch(unpublished, {{touched}});
