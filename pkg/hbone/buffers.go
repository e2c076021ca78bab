package hbone

import "sync"

// bufPool hands out buffers of one size. They are held only while bytes move.
type bufPool struct {
	size int
	p    sync.Pool
}

func newBufPool(size int) *bufPool {
	b := &bufPool{size: size}
	b.p.New = func() any { s := make([]byte, size); return &s }
	return b
}

func (b *bufPool) get() *[]byte { return b.p.Get().(*[]byte) }

func (b *bufPool) put(s *[]byte) {
	if s != nil {
		b.p.Put(s)
	}
}

// Received bytes that wait for a slow reader are kept in chunks of these sizes.
const (
	smallChunk = 2 << 10
	bigChunk   = 32 << 10
)

var chunkPool = newBufPool(bigChunk)

// queue is a stream's received bytes.
type queue struct {
	chunks []chunk
	len    int
}

type chunk struct {
	r   int
	b   []byte
	own *[]byte // goes back to chunkPool
}

// put copies p to the end.
func (q *queue) put(p []byte) {
	q.len += len(p)
	for len(p) > 0 {
		if len(q.chunks) == 0 || cap(q.chunks[len(q.chunks)-1].b) == len(q.chunks[len(q.chunks)-1].b) {
			q.grow(len(p))
		}
		last := &q.chunks[len(q.chunks)-1]
		n := min(cap(last.b)-len(last.b), len(p))
		last.b = append(last.b, p[:n]...)
		p = p[n:]
	}
}

func (q *queue) grow(n int) {
	if n <= smallChunk && len(q.chunks) == 0 {
		q.chunks = append(q.chunks, chunk{b: make([]byte, 0, smallChunk)})
		return
	}
	own := chunkPool.get()
	q.chunks = append(q.chunks, chunk{b: (*own)[:0], own: own})
}

// segments appends slices of what is queued, at most limit of them.
func (q *queue) segments(to [][]byte, limit int) [][]byte {
	for i := range q.chunks {
		if len(to) == limit {
			break
		}
		to = append(to, q.chunks[i].b[q.chunks[i].r:])
	}
	return to
}

// drop removes n bytes from the front.
func (q *queue) drop(n int) {
	q.len -= n
	i := 0
	for ; n > 0; i++ {
		k := &q.chunks[i]
		m := min(n, len(k.b)-k.r)
		k.r += m
		if n -= m; k.r < len(k.b) {
			break
		}
		if k.own != nil {
			chunkPool.put(k.own)
		}
	}
	q.chunks = q.chunks[i:]
	if q.len == 0 {
		q.chunks = nil
	}
}

// take copies from the front into p.
func (q *queue) take(p []byte) (n int) {
	for i := range q.chunks {
		m := copy(p[n:], q.chunks[i].b[q.chunks[i].r:])
		if n += m; n == len(p) {
			break
		}
	}
	q.drop(n)
	return n
}
