package sse

import "bytes"

// countLines says how many lines data has, and how many bytes without the line ends. A line ends at LF, CR or CRLF.
func countLines(data []byte) (lines, size int) {
	lf := bytes.Count(data, []byte{'\n'})
	cr := bytes.Count(data, []byte{'\r'})
	ends := lf + cr
	if lf > 0 && cr > 0 {
		ends -= bytes.Count(data, []byte("\r\n"))
	}
	return ends + 1, len(data) - lf - cr
}

// appendLines writes one data line for each line of data. Each of the two searches goes over the bytes once, whatever the mixture
// of line ends, and they are much quicker than one search for either.
func appendLines(dst, data []byte) []byte {
	cr, lf := -1, -1
	for start := 0; ; {
		cr, lf = nextIndex(data, start, cr, '\r'), nextIndex(data, start, lf, '\n')
		end := min(cr, lf)
		dst = append(dst, dataField...)
		dst = append(dst, data[start:end]...)
		dst = append(dst, '\n')
		switch {
		case end == len(data):
			return dst
		case end == cr && lf == cr+1 && lf < len(data):
			start = end + 2
		default:
			start = end + 1
		}
	}
}

// nextIndex is the place of the first c at or behind start, or len(data). found is the answer to the last question.
func nextIndex(data []byte, start, found int, c byte) int {
	if found >= start {
		return found
	}
	if i := bytes.IndexByte(data[start:], c); i >= 0 {
		return start + i
	}
	return len(data)
}
