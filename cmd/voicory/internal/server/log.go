package server

import (
	"io"
	"log/slog"

	"github.com/voicory/warehouse/warehouse/control"
)

// NewLogger returns the logger of the server, which writes lines of JSON or of text to out. It masks API keys in the
// text and error attributes of every line.
func NewLogger(out io.Writer, json bool) *slog.Logger {
	options := &slog.HandlerOptions{ReplaceAttr: maskAttr}
	if json {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

// maskAttr masks API keys in an attribute of a log line.
func maskAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(control.MaskKeys(a.Value.String()))
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(control.MaskKeys(err.Error()))
		}
	}
	return a
}
