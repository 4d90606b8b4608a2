-- Unless a later commit has touched it too.
UPDATE clock SET unpublished = json_merge_patch(unpublished, json_object($edition, NULL)) WHERE (unpublished ->> $edition)::BIGINT <= $seq;
