-- Begins the commits of a restored store with a gap of {{gap}} numbers. Commits that the restore has lost have numbers
-- in the gap, and no later commit gets one of them. The epoch {{lost}} marks the gap, so that a position at a lost
-- commit is recognized.
INSERT INTO {{store}}.epochs SELECT seq + 1, {{lost}}::UUID FROM {{store}}.clock;
INSERT INTO {{store}}.epochs SELECT seq + {{gap}}, {{epoch}}::UUID FROM {{store}}.clock;
UPDATE {{store}}.clock SET seq = seq + {{gap}}, unpublished = json_merge_patch(unpublished, {{touched}});
