package worker

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
	"github.com/voicory/warehouse/warehouse/schema"
)

// maxTree bounds a parse tree as JSON, in bytes: about 100 bytes for each constant of the statement.
const maxTree = 32 << 20

// A statement is checked before DuckDB binds it, since binding already runs code: it opens files, dereferences
// arguments of table functions and folds constants. The rule is an allow list of everything that a parse tree can
// hold: the shapes of its nodes (grammar), the names of functions, views and types (allowlist.txt), and the
// relations. All else is refused, so that additions of a newer DuckDB are refused until they have been reviewed.
//
// The walk is complete because grammar names, for each node, all its properties and the sort of each. A node or a
// property that grammar does not name is refused. json_serialize_sql writes all that the parser produced, as the
// deserializer must rebuild the statement from it (with storage_compatibility_version = latest, which openEngine
// sets). No function is allowed that reads a text as SQL. So nothing runs that was not in the tree.

// grammar lists the nodes of a parse tree: their sort, their kind, and their properties in the order of the walk. A
// property holds text, numbers or booleans, or a node of the sort after its colon. A star stands for a list of such
// nodes. The first line of a sort has the properties of all its kinds and, in brackets, the property that holds the
// kind.
var grammar = parseGrammar(`
statement: node:query named_param_map:parameter*
parameter: key value

query [type]: cte_map:ctes modifiers:modifier*
query SELECT_NODE: from_table:table select_list:expression* where_clause:expression group_expressions:expression*
	group_sets aggregate_handling having:expression qualify:expression sample:sample
query SET_OPERATION_NODE: setop_type setop_all children:query*
query RECURSIVE_CTE_NODE: cte_name union_all aliases left:query right:query key_targets:expression*
ctes: map:cte_entry*
cte_entry: key value:cte
cte: aliases query:statement materialized key_targets:expression*

modifier [type]:
modifier LIMIT_MODIFIER: limit:expression offset:expression
modifier LIMIT_PERCENT_MODIFIER: limit:expression offset:expression
modifier DISTINCT_MODIFIER: distinct_on_targets:expression*
modifier ORDER_MODIFIER: orders:order*
order: type null_order expression:expression

table [type]: alias query_location sample:sample
table EMPTY:
table BASE_TABLE: catalog_name schema_name table_name column_name_alias
table SUBQUERY: subquery:statement column_name_alias
table JOIN: left:table right:table condition:expression join_type ref_type using_columns is_implicit
table TABLE_FUNCTION: function:table_function column_name_alias with_ordinality
table EXPRESSION_LIST: expected_names expected_types:type* values:expression**
table PIVOT: source:table aggregates:expression* unpivot_names pivots:pivot* groups column_name_alias include_nulls
table SHOW_REF: table_name query:query show_type
pivot: pivot_expressions:expression* unpivot_names entries:pivot_entry*
pivot_entry: values:value* star_expr:expression alias
sample: sample_size:value is_percentage method seed repeatable

expression [class]: type alias query_location
expression BETWEEN: input:expression lower:expression upper:expression
expression CASE: case_checks:case_check* else_expr:expression
expression CAST: child:expression cast_type:type try_cast
expression COLLATE: child:expression collation
expression COLUMN_REF: column_names
expression COMPARISON: left:expression right:expression
expression CONJUNCTION: children:expression*
expression CONSTANT: value:value
expression FUNCTION: catalog schema function_name children:expression* filter:expression order_bys:modifier distinct
	is_operator
expression LAMBDA: lhs:expression expr:expression syntax_type
expression OPERATOR: children:expression*
expression PARAMETER: identifier
expression POSITIONAL_REFERENCE: index
expression STAR: relation_name exclude_list qualified_exclude_list:column* replace_list:replacement*
	rename_list:rename* columns expr:expression unpacked
expression SUBQUERY: subquery_type subquery:statement child:expression comparison_type
expression TYPE: catalog schema type_name children:expression*
expression WINDOW: catalog schema function_name children:expression* partitions:expression* orders:order* start end
	start_expr:expression end_expr:expression offset_expr:expression default_expr:expression ignore_nulls
	filter_expr:expression exclude_clause distinct arg_orders:order*
table_function [class]: type alias query_location
table_function FUNCTION: catalog schema function_name children:expression* filter:expression order_bys:modifier
	distinct is_operator
case_check: when_expr:expression then_expr:expression
replacement: key value:expression
rename: key:column value
column: catalog schema table column

type [id]: type_info:type_info
type_info [type]:
type_info DECIMAL_TYPE_INFO: width scale
type_info LIST_TYPE_INFO: child_type:type
type_info UNBOUND_TYPE_INFO: expr:expression
value: type:type is_null value:constant
constant: upper lower
` + kindsOf("type", "NULL BOOLEAN TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT "+
	"UHUGEINT FLOAT DOUBLE DECIMAL VARCHAR INTERVAL LIST UNBOUND"))

// kindsOf returns lines of the grammar for kinds without properties of their own.
func kindsOf(sort, kinds string) (lines string) {
	for kind := range strings.FieldsSeq(kinds) {
		lines += sort + " " + kind + ":\n"
	}
	return lines
}

// expressionTypes lists the types of the expressions whose class has several.
var expressionTypes = map[string][]string{
	"COMPARISON": {
		"COMPARE_EQUAL", "COMPARE_NOTEQUAL", "COMPARE_LESSTHAN", "COMPARE_GREATERTHAN", "COMPARE_LESSTHANOREQUALTO",
		"COMPARE_GREATERTHANOREQUALTO", "COMPARE_DISTINCT_FROM", "COMPARE_NOT_DISTINCT_FROM",
	},
	"CONJUNCTION": {"CONJUNCTION_AND", "CONJUNCTION_OR"},
	"OPERATOR": {
		"OPERATOR_NOT", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "OPERATOR_COALESCE", "OPERATOR_TRY",
		"OPERATOR_UNPACK",
		"COMPARE_IN", "COMPARE_NOT_IN", "ARRAY_CONSTRUCTOR", "ARRAY_EXTRACT", "ARRAY_SLICE", "STRUCT_EXTRACT",
		"GROUPING_FUNCTION",
	},
	"WINDOW": {
		"WINDOW_AGGREGATE", "WINDOW_ROW_NUMBER", "WINDOW_RANK", "WINDOW_RANK_DENSE", "WINDOW_PERCENT_RANK",
		"WINDOW_CUME_DIST",
		"WINDOW_NTILE", "WINDOW_FIRST_VALUE", "WINDOW_LAST_VALUE", "WINDOW_NTH_VALUE", "WINDOW_LAG", "WINDOW_LEAD",
		"WINDOW_FILL",
	},
}

// showTables are the table names in the trees of SHOW TABLES and SHOW ALL TABLES. SHOW of a single relation has the
// relation's name there.
var showTables = []string{`"tables"`, "__show_tables_expanded"}

// A property describes a property of a node.
type property struct {
	name, sort string // an empty sort stands for text, numbers, booleans and lists of them
	lists      int    // levels of lists around the nodes: 0 to 2
}

// A nodes value is a parsed grammar.
type nodes struct {
	kindOf     map[string]string     // name of the property that holds the kind, by sort; missing if a sort has one kind
	properties map[string][]property // by sort, or by sort and kind
}

// parseGrammar parses a grammar in the notation of grammar.
func parseGrammar(text string) nodes {
	g := nodes{map[string]string{}, map[string][]property{}}
	for line := range strings.Lines(strings.ReplaceAll(text, "\n\t", " ")) {
		head, tail, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		sort, kind, _ := strings.Cut(head, " ")
		if discriminator, ok := strings.CutPrefix(kind, "["); ok {
			g.kindOf[sort] = strings.TrimSuffix(discriminator, "]")
			head = sort
		}
		var all []property
		for field := range strings.FieldsSeq(tail) {
			name, sort, _ := strings.Cut(field, ":")
			all = append(all, property{name, strings.TrimRight(sort, "*"), strings.Count(sort, "*")})
		}
		if head != sort { // a kind has the properties of its sort, too
			all = append(slices.Clone(g.properties[sort]), all...)
		}
		g.properties[head] = all
	}
	return g
}

// A checker walks the parse tree of one statement.
type checker struct {
	text     string   // the user's text
	offset   int      // offset in text of the statement to which the tree belongs, in bytes
	location int      // offset of the innermost node that has one, in bytes from the statement's beginning; -1 if none
	ctes     []string // names of the visible common table expressions, in lower case
}

// refuse returns a Failure at the location of the walk.
func (c *checker) refuse(format string, args ...any) error {
	f := &protocol.Failure{Kind: protocol.ErrSQL, Message: fmt.Sprintf(format, args...)}
	if c.location >= 0 {
		locate(f, c.text, c.offset+c.location)
	}
	return f
}

// unavailable returns a Failure for a name that queries cannot use.
func (c *checker) unavailable(what, name string) error {
	return c.refuse("%s %q is not available in queries (docs/sql.md lists what is)", what, name)
}

// statement checks a tree in the format of json_serialize_sql. It returns a Failure unless the tree has exactly one
// statement and all its nodes are allowed.
func (c *checker) statement(tree string) error {
	decoder := json.NewDecoder(strings.NewReader(tree))
	decoder.UseNumber()
	var answer struct {
		Failed     bool   `json:"error"`
		Type       string `json:"error_type"`
		Message    string `json:"error_message"`
		Position   string `json:"position"`
		Statements []any  `json:"statements"`
	}
	if err := decoder.Decode(&answer); err != nil { // such as one nested too deeply
		return c.refuse("The statement cannot be read: %v", err)
	}
	switch {
	case answer.Message == onlySelect:
		return c.refuse("Only statements that read are run, and one at a time: SELECT, WITH, FROM, VALUES, TABLE, " +
			"DESCRIBE, SUMMARIZE, SHOW TABLES, UNPIVOT, PIVOT with its values named (ON column IN (…)), and EXPLAIN of these")
	case answer.Failed:
		return c.parseFailure(answer.Type, answer.Message, answer.Position)
	case len(answer.Statements) == 0:
		return c.refuse("The text has no statement")
	case len(answer.Statements) > 1:
		return c.refuse("The text has more than one statement")
	}
	return c.node("statement", answer.Statements[0])
}

// parseFailure returns the Failure for an error of DuckDB's parser or of json_serialize_sql.
func (c *checker) parseFailure(kind, message, position string) error {
	switch kind {
	case "internal", "fatal":
		return &protocol.Failure{Kind: protocol.ErrCrashed, Message: protocol.ErrCrashed.Error()}
	case "out of memory":
		return &protocol.Failure{Kind: protocol.ErrMemory, Message: message}
	}
	f := &protocol.Failure{Kind: protocol.ErrSQL, Message: message}
	if kind != "" {
		f.Message = strings.ToUpper(kind[:1]) + kind[1:] + " Error: " + message
	}
	if at, err := strconv.Atoi(position); err == nil {
		locate(f, c.text, c.offset+at)
	}
	return f
}

// onlySelect is the error of json_serialize_sql for statements other than SELECT.
const onlySelect = "Only SELECT statements can be serialized to json!"

// node checks a node of the given sort, and then the nodes in its properties.
func (c *checker) node(sort string, tree any) error {
	node, ok := tree.(map[string]any)
	if !ok {
		return c.refuse("The statement cannot be checked: its tree has no %s where one should be", sort)
	}
	defer func(location, ctes int) { // common table expressions of a query are not visible after it
		c.location = location
		if sort == "query" {
			c.ctes = c.ctes[:ctes]
		}
	}(c.location, len(c.ctes))
	if location, ok := node["query_location"].(json.Number); ok {
		if n, err := location.Int64(); err == nil {
			c.location = int(n)
		}
	}
	name, kind, properties := sort, "", 0
	if discriminator := grammar.kindOf[sort]; discriminator != "" {
		kind, properties = text(node, discriminator), 1
		name += " " + kind
	}
	shape, ok := grammar.properties[name]
	if !ok {
		return c.unavailable(sort, kind)
	}
	if err := c.names(sort, kind, node); err != nil {
		return err
	}
	for _, p := range shape {
		value, ok := node[p.name]
		if !ok {
			continue
		}
		properties++
		if name == "query RECURSIVE_CTE_NODE" && p.name == "right" { // the only part of it that can name it
			name := lowerASCII(text(node, "cte_name"))
			c.ctes = append(c.ctes, name)
			if node["key_targets"] != nil {
				c.ctes = append(c.ctes, recurring+name)
			}
		}
		if err := c.property(p.sort, p.lists, value); err != nil {
			return err
		}
	}
	if properties != len(node) {
		for key := range node {
			known := func(p property) bool { return p.name == key }
			if key != grammar.kindOf[sort] && !slices.ContainsFunc(shape, known) {
				return c.unavailable(name, key)
			}
		}
	}
	if sort == "cte_entry" {
		c.ctes = append(c.ctes, lowerASCII(text(node, "key")))
	}
	return nil
}

// property checks the value of a property, with the given levels of lists around the nodes.
func (c *checker) property(sort string, lists int, value any) error {
	switch v := value.(type) {
	case []any:
		if lists == 0 && sort != "" {
			break
		}
		for _, element := range v {
			if err := c.property(sort, max(lists-1, 0), element); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		if lists > 0 || sort == "" {
			break
		}
		return c.node(sort, v)
	default:
		if lists == 0 && (sort == "" || sort == "constant") || v == nil {
			return nil
		}
	}
	return c.refuse("The statement cannot be checked: its tree is not of the expected form")
}

// names checks the names in a node.
func (c *checker) names(sort, kind string, node map[string]any) error {
	types := expressionTypes[kind]
	if sort == "expression" && types != nil && !slices.Contains(types, text(node, "type")) {
		return c.unavailable("expression", text(node, "type"))
	}
	switch sort + " " + kind {
	case "expression FUNCTION", "expression WINDOW":
		return c.name(inExpression, "function", text(node, "function_name"))
	case "table_function FUNCTION":
		return c.name(inFrom, "table function", text(node, "function_name"))
	case "expression TYPE":
		return c.name(asType, "type", text(node, "type_name"))
	case "table BASE_TABLE":
		return c.relation(text(node, "catalog_name"), text(node, "schema_name"), text(node, "table_name"))
	case "table SHOW_REF":
		if name := text(node, "table_name"); node["query"] == nil && !slices.Contains(showTables, name) {
			return c.unavailable("SHOW of", strings.Trim(name, `"`))
		}
	}
	return nil
}

// name checks a name of DuckDB's catalogue.
func (c *checker) name(place position, what, name string) error {
	if !isAllowed(place, name) {
		return c.unavailable(what, name)
	}
	return nil
}

// recurring is a prefix of names of common table expressions. The name with the prefix is that of the relation
// recurring.name, which holds all rows so far of a recursion with USING KEY.
const recurring = "recurring\x00"

// relation checks the name of a relation. DuckDB looks for a common table expression, then for a view, and at last for
// a file of that name. So every name must be one that DuckDB finds before it looks for a file.
func (c *checker) relation(catalog, namespace, name string) error {
	catalog, namespace, lower := lowerASCII(catalog), lowerASCII(namespace), lowerASCII(name)
	cte := lower
	if namespace == "recurring" {
		cte = recurring + lower
	}
	if catalog == "" && (namespace == "" || namespace == "recurring") && slices.Contains(c.ctes, cte) {
		return nil
	}
	isExport := slices.ContainsFunc(schema.Exports, func(e schema.Export) bool { return e.Name == lower })
	if isExport && slices.Contains([]string{".", ".main", ".memory", "memory.main"}, catalog+"."+namespace) {
		return nil
	}
	if slices.Contains([]string{"", "memory", "system"}, catalog) {
		for _, in := range []string{"main", "pg_catalog", "information_schema"} {
			unqualified := catalog == "" && namespace == "" && in != "information_schema"
			if (unqualified || namespace == in) && isAllowed(asView, in+"."+lower) {
				return nil
			}
		}
	}
	if namespace != "" {
		name = namespace + "." + name
	}
	if catalog != "" {
		name = catalog + "." + name
	}
	var names []string
	for _, export := range schema.Exports {
		names = append(names, export.Name)
	}
	return c.refuse("table %q is not available in queries: the tables are %s", name, strings.Join(names, ", "))
}

// text returns the text of a property, or "" if it holds no text.
func text(node map[string]any, property string) string {
	s, _ := node[property].(string)
	return s
}

// explains matches the beginning of an EXPLAIN statement: after blanks and comments the word itself, then ANALYZE or
// options in brackets.
var explains = regexp.MustCompile(strings.ReplaceAll(`(?is)^_*explain\b(?:_+(analy[sz]e)\b|_*\(([a-z,'\s]*)\))?_*`,
	"_", `(?:\s|--[^\n]*\n|/\*.*?\*/)`))

// explainFormats are the formats of a plan.
var explainFormats = []string{"default", "text", "json", "html", "graphviz", "yaml", "mermaid"}

// cutExplain splits an EXPLAIN statement. The explained statement begins at offset begin of the text, and prefix
// replaces the text before it. For any other text, prefix is empty and begin is 0.
//
// Security does not depend on parsing the text exactly as DuckDB does. The text from begin on is checked as a
// statement of its own, and prefix is made here.
func cutExplain(text string) (prefix string, begin int) {
	found := explains.FindStringSubmatchIndex(text)
	if found == nil {
		return "", 0
	}
	switch {
	case found[2] >= 0:
		return "EXPLAIN ANALYZE ", found[1]
	case found[4] < 0:
		return "EXPLAIN ", found[1]
	}
	var options []string
	for option := range strings.SplitSeq(lowerASCII(text[found[4]:found[5]]), ",") {
		words := strings.Fields(option)
		switch {
		case len(words) == 1 && (words[0] == "analyze" || words[0] == "analyse"):
			options = append(options, "ANALYZE")
		case len(words) == 2 && words[0] == "format" && slices.Contains(explainFormats, strings.Trim(words[1], "'")):
			options = append(options, "FORMAT "+strings.Trim(words[1], "'"))
		default: // brackets around a statement, or an unknown option
			return "EXPLAIN ", found[4] - 1
		}
	}
	return "EXPLAIN (" + strings.Join(options, ", ") + ") ", found[1]
}
