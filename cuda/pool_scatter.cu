// pool_scatter: rows into some slots of one field of a state pool.
//
//   field[slots[r]] = values[r], nothing where there is no such slot. Of a slot that is given twice each word comes from
//   either row.
//
//   field [S,W]  slots [N]  values [N,W], of 4-byte words; `pool_scatter_wide` has W counted in vectors of 16 bytes
//   height S  rows N  width W  lanes: threads that copy a row
//
// Launch: any 1-D grid (blocks stride over groups of 256/lanes rows, times the pieces of a row), 256 threads, lanes a
//   power of two up to 256, no shared memory. The wide kernel needs field and values at multiples of 16 bytes.
// Reference: amortix.ops.pool_scatter, `definition`. Equal to the last bit.

#define THREADS 256
#define PIECE 1024  // words or vectors of a row that are copied before the next unit of work

template <class Word>
__device__ void scatter(const Word* values, const long long* slots, Word* field, int height, int rows, int width,
                        int lanes) {
    const int together = THREADS / lanes, pieces = (width + PIECE - 1) / PIECE;
    const long long units = (long long)((rows + together - 1) / together) * pieces;
    for (long long unit = blockIdx.x; unit < units; unit += gridDim.x) {
        const int row = (int)(unit / pieces) * together + threadIdx.x / lanes;
        if (row >= rows) continue;
        const long long slot = slots[row];
        if (slot < 0 || slot >= height) continue;
        const Word* from = values + (long long)row * width;
        Word* to = field + slot * width;
        const int first = (int)(unit % pieces) * PIECE, stop = width - first < PIECE ? width : first + PIECE;
        for (int w = first + threadIdx.x % lanes; w < stop; w += lanes) to[w] = from[w];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
pool_scatter(const int* values, const long long* slots, int* inout_field, int height, int rows, int width, int lanes) {
    scatter(values, slots, inout_field, height, rows, width, lanes);
}

extern "C" __global__ void __launch_bounds__(THREADS)
pool_scatter_wide(const int4* values, const long long* slots, int4* inout_field, int height, int rows, int width,
                  int lanes) {
    scatter(values, slots, inout_field, height, rows, width, lanes);
}
