package postgres

import (
	"bytes"
	"strings"
	"unicode/utf8"

	textencoding "golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// serverEncodings are the encodings of databases that this package decodes itself. If the server converts a value to
// UTF-8 and cannot convert one byte, the whole statement fails; here, only the row does. The server converts the other
// encodings.
var serverEncodings = map[string]textencoding.Encoding{
	"LATIN1": charmap.ISO8859_1, "LATIN2": charmap.ISO8859_2, "LATIN3": charmap.ISO8859_3, "LATIN4": charmap.ISO8859_4,
	"LATIN5": charmap.ISO8859_9, "LATIN6": charmap.ISO8859_10, "LATIN7": charmap.ISO8859_13, "LATIN8": charmap.ISO8859_14,
	"LATIN9": charmap.ISO8859_15, "LATIN10": charmap.ISO8859_16, "ISO_8859_5": charmap.ISO8859_5,
	"ISO_8859_6": charmap.ISO8859_6, "ISO_8859_7": charmap.ISO8859_7, "ISO_8859_8": charmap.ISO8859_8,
	"WIN1250": charmap.Windows1250, "WIN1251": charmap.Windows1251, "WIN1252": charmap.Windows1252,
	"WIN1253": charmap.Windows1253, "WIN1254": charmap.Windows1254, "WIN1255": charmap.Windows1255,
	"WIN1256": charmap.Windows1256, "WIN1257": charmap.Windows1257, "WIN1258": charmap.Windows1258,
	"WIN866": charmap.CodePage866, "WIN874": charmap.Windows874, "KOI8R": charmap.KOI8R, "KOI8U": charmap.KOI8U,
	"EUC_JP": japanese.EUCJP, "EUC_KR": korean.EUCKR, "EUC_CN": simplifiedchinese.GBK,
}

// A textDecoder converts values of a database to UTF-8. The zero value returns them unchanged.
type textDecoder struct{ from textencoding.Encoding }

// bytes returns a value in UTF-8. It returns bytes that are not UTF-8, which refuse the row, if the value is not valid.
func (d textDecoder) bytes(value []byte) []byte {
	isASCII := !bytes.ContainsFunc(value, func(r rune) bool { return r >= utf8.RuneSelf })
	if d.from == nil || isASCII {
		return value
	}
	text, err := d.from.NewDecoder().Bytes(value)
	if err != nil || bytes.ContainsRune(text, utf8.RuneError) {
		return append([]byte{0xFF}, value...)
	}
	return text
}

// text returns a text in UTF-8, with U+FFFD for bytes that are not valid.
func (d textDecoder) text(value string) string {
	return strings.ToValidUTF8(string(d.bytes([]byte(value))), "\uFFFD")
}
