package main

import "github.com/peterh/liner"

// errAborted is that of a line that was given up, with Ctrl-C.
var errAborted = liner.ErrPromptAborted

// newTerminal reads lines that can be edited, with those before them at hand.
func newLineEditor() lineEditor {
	lines := liner.NewLiner()
	lines.SetCtrlCAborts(true)
	lines.SetMultiLineMode(true)
	return lines
}
