package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"
)

// maxCell is the maximum width of a cell, in terminal columns.
const maxCell = 60

// printTable prints a JSON result as a table. Numbers are aligned right, nulls are printed as NULL, and cells that are
// wider than maxCell are truncated. Texts that look like NULL, or that begin with a quote, are printed in quotes.
func printTable(out io.Writer, answer []byte) error {
	var result struct {
		Columns   []struct{ Name, Type string }
		Rows      [][]json.RawMessage
		Truncated *string
		ElapsedMS float64 `json:"elapsed_ms"`
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		return fmt.Errorf("read the result: %w", err)
	}
	heads := make([]string, len(result.Columns))
	widths, right := make([]int, len(heads)), make([]bool, len(heads))
	for i, c := range result.Columns {
		heads[i] = runewidth.Truncate(printable(c.Name), maxCell, "…")
		widths[i], right[i] = runewidth.StringWidth(heads[i]), isNumber(c.Type)
	}
	rows := make([][]string, len(result.Rows))
	for r, row := range result.Rows {
		rows[r] = make([]string, len(row))
		for i, value := range row {
			rows[r][i] = runewidth.Truncate(cellText(value), maxCell, "…")
			widths[i] = max(widths[i], runewidth.StringWidth(rows[r][i]))
		}
	}
	var text strings.Builder
	line := func(cells []string, right []bool) {
		for i, cell := range cells {
			blanks := strings.Repeat(" ", widths[i]-runewidth.StringWidth(cell))
			switch {
			case right[i]:
				cell = blanks + cell
			case i < len(cells)-1:
				cell += blanks
			}
			if i > 0 {
				text.WriteString("  ")
			}
			text.WriteString(cell)
		}
		text.WriteByte('\n')
	}
	line(heads, right)
	rules := make([]string, len(heads))
	for i := range rules {
		rules[i] = strings.Repeat("─", widths[i])
	}
	line(rules, right)
	for _, row := range rows {
		line(row, right)
	}
	more := ""
	if result.Truncated != nil {
		more = ", more are not shown"
	}
	fmt.Fprintf(&text, "%d rows%s, %.0f ms\n", len(rows), more, result.ElapsedMS)
	_, err := io.WriteString(out, text.String())
	return err
}

// isNumber reports whether a DuckDB type is numeric. Lists, structs and intervals of numbers are not.
func isNumber(typ string) bool {
	for _, part := range []string{"INT", "DECIMAL", "FLOAT", "DOUBLE"} {
		if strings.Contains(typ, part) && !strings.ContainsAny(typ, "[\"") && typ != "INTERVAL" {
			return true
		}
	}
	return false
}

// cellText returns the text of a JSON value in a table.
func cellText(value json.RawMessage) string {
	if string(value) == "null" {
		return "NULL"
	}
	var text string
	if json.Unmarshal(value, &text) == nil {
		if text == "NULL" || strings.HasPrefix(text, `"`) {
			return strconv.QuoteToGraphic(text)
		}
		return printable(text)
	}
	return printable(string(value))
}
