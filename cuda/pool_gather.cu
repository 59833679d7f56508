// pool_gather: the rows of some slots of one field of a state pool.
//
//   out[r] = field[slots[r]], all bits set where there is no such slot: NaN as float32, -1 as int64
//
//   field [S,W]  slots [N]  out [N,W], of 4-byte words; `pool_gather_wide` has W counted in vectors of 16 bytes
//   height S  rows N  width W  lanes: threads that copy a row
//
// Launch: any 1-D grid (blocks stride over groups of 256/lanes rows, times the pieces of a row), 256 threads, lanes a
//   power of two up to 256, no shared memory. The wide kernel needs field and out at multiples of 16 bytes.
// Reference: amortix.ops.pool_gather, `definition`. Equal to the last bit.

#define THREADS 256
#define PIECE 1024  // words or vectors of a row that are copied before the next unit of work

template <class Word>
__device__ void gather(const Word* field, const long long* slots, Word* out, int height, int rows, int width, int lanes,
                       Word absent) {
    const int together = THREADS / lanes, pieces = (width + PIECE - 1) / PIECE;
    const long long units = (long long)((rows + together - 1) / together) * pieces;
    for (long long unit = blockIdx.x; unit < units; unit += gridDim.x) {
        const int row = (int)(unit / pieces) * together + threadIdx.x / lanes;
        if (row >= rows) continue;
        const long long slot = slots[row];
        const bool exists = 0 <= slot && slot < height;
        const Word* from = field + (exists ? slot : 0) * width;
        Word* to = out + (long long)row * width;
        const int first = (int)(unit % pieces) * PIECE, stop = width - first < PIECE ? width : first + PIECE;
        for (int w = first + threadIdx.x % lanes; w < stop; w += lanes) to[w] = exists ? from[w] : absent;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
pool_gather(const int* field, const long long* slots, int* out, int height, int rows, int width, int lanes) {
    gather(field, slots, out, height, rows, width, lanes, -1);
}

extern "C" __global__ void __launch_bounds__(THREADS)
pool_gather_wide(const int4* field, const long long* slots, int4* out, int height, int rows, int width, int lanes) {
    gather(field, slots, out, height, rows, width, lanes, make_int4(-1, -1, -1, -1));
}
