package main

import "github.com/peterh/liner"

// errAborted is returned by Prompt if the user pressed Ctrl-C.
var errAborted = liner.ErrPromptAborted

// newLineEditor returns a line editor with a history, on the terminal of the process.
func newLineEditor() lineEditor {
	lines := liner.NewLiner()
	lines.SetCtrlCAborts(true)
	lines.SetMultiLineMode(true)
	return lines
}
