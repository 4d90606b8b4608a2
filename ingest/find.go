package ingest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/voicory/warehouse/warehouse"
)

// A Found file is one of the files that Find returns.
type Found struct {
	Path string
	Info fs.FileInfo // of the file that a symbolic link points to; nil: standard input, or a file without access
}

// A Skipped entry of a folder is not read.
type Skipped struct{ Path, Reason string }

// Find returns the files at paths, in order. A folder is replaced by the files in it and below it, in lexical order.
// Symbolic links are followed; each folder is read once, even if several paths lead to it. Find omits hidden files and
// documentation (README, LICENSE, Markdown) in folders. It includes files with an unknown extension, and files and
// folders without access. It skips FIFOs, sockets and devices in folders, because opening or reading one can block and
// would stop the other files. Find returns warehouse.ErrNotFound if one of paths does not exist.
func Find(paths []string) (found []Found, skipped []Skipped, err error) {
	f := finder{folders: map[[2]uint64]bool{}}
	for _, path := range paths {
		if path == Stdin {
			f.found = append(f.found, Found{Path: path})
			continue
		}
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil, fmt.Errorf("%w: file or folder %s does not exist", warehouse.ErrNotFound, path)
		case err == nil && info.IsDir():
			f.addFolder(path, info)
		default: // a FIFO or a device is read if it is named
			f.found = append(f.found, Found{path, info})
		}
	}
	return f.found, f.skipped, nil
}

// A finder collects the files of folders.
type finder struct {
	found   []Found
	skipped []Skipped
	folders map[[2]uint64]bool // device and inode of the folders that were read
}

// addFolder adds the files in a folder and below it.
func (f *finder) addFolder(path string, info fs.FileInfo) {
	stat := info.Sys().(*syscall.Stat_t)
	id := [2]uint64{uint64(stat.Dev), stat.Ino} //nolint:unconvert // Dev is an int32 on macOS
	if f.folders[id] {
		return
	}
	f.folders[id] = true
	entries, err := os.ReadDir(path)
	if err != nil {
		f.found = append(f.found, Found{Path: path}) // opening the folder later reports the error
	}
	for _, entry := range entries {
		if !isIgnored(entry.Name()) {
			f.add(filepath.Join(path, entry.Name()))
		}
	}
}

// add adds an entry of a folder.
func (f *finder) add(path string) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(path); err == nil {
			f.skipped = append(f.skipped, Skipped{path, "the target of the symbolic link does not exist"})
		}
	case err != nil:
		f.found = append(f.found, Found{Path: path}) // opening the file later reports the error
	case info.IsDir():
		f.addFolder(path, info)
	case info.Mode().IsRegular():
		f.found = append(f.found, Found{path, info})
	default:
		f.skipped = append(f.skipped, Skipped{path, "it is a " + kindOf(info.Mode()) + ", not a file"})
	}
}

// kindOf returns the name of the type of an entry that is neither a file nor a folder.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "FIFO"
	case mode&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}
