-- What the lake must be told of. A dataset of one file has one month, ''.
INSERT INTO {{store}}.unpublished SELECT {{dataset_name}}, unnest(string_split({{months}}, ',')), seq FROM {{store}}.clock;
