// local_solve: mean and latent variance at each query of a Gaussian process on the K rows that it retains.
//
//   k(a, b) = signal0 * exp(-sqrt(s)) + signal1 * exp(-stretch * s / 2), s = sum_D relevance * (a - b)^2
//   prior = signal0 + signal1, A = k(rows, rows) + (noise + jitter * prior) * I
//   mean = k' A^-1 residual, variance = max(prior - k' A^-1 k, 0), with k = k(query, rows)
//   Slots at distance +inf are empty and excluded.
//
//   query [T,M,D]  kept_x [T,M,K,D]  residual [T,M,K,O]  distance [T,M,K]  relevance [T,D]  signal [T,2]  stretch [T]
//   noise [T]
//   mean [T,M,O]  variance [T,M]
//   tasks T  queries M  slots K  columns D  outputs O
//
// Launch: any 1-D grid (blocks stride over the T*M queries), 1-D blocks of at most 512 threads, best one per row of
//   the matrix (K+1+O), shared memory 4 * ((K+1)*(K+2)/2 + O*K + STAGE*(K+1) + K) bytes with STAGE = 8.
// Reference: amortix.ops.local_solve, `definition`; Rasmussen and Williams (2006), algorithm 2.1, eq. 4.9 and 4.18.
//
// One block per query, one thread per row of the symmetric matrix
//
//        | A         k      residual |     n rows        eliminating the first n columns leaves, in column n,
//        | k'        prior  0        |     1 row         prior - k' A^-1 k  and  -residual' A^-1 k:
//        | residual' 0               |     O rows        the variance, and the mean with its sign turned.
//
// so one left-looking Cholesky factorisation solves everything. Rows up to the query's are packed as a triangle:
// i*(i+1)/2 runs through all residues modulo 32 as i does, so threads reading column k of 32 rows hit 32 banks.

#define STAGE 8

// Where row i of the matrix starts; rows beyond n hold n entries each, the others i + 1.
__device__ int row_start(int i, int n) { return i <= n ? i * (i + 1) / 2 : (n + 1) * (n + 2) / 2 + (i - n - 1) * n; }

// List the occupied slots in order; returns their number.
__device__ int list_occupied(const float* distance, int slots, int* slot_of) {
    int total = 0;
    for (int k = 0; k < slots; ++k) {
        if (isinf(distance[k])) continue;
        if (k % blockDim.x == threadIdx.x) slot_of[total] = k;
        ++total;
    }
    return total;
}

extern "C" __global__ void __launch_bounds__(512)
local_solve(const float* query, const float* kept_x, const float* residual, const float* distance,
            const float* relevance, const float* signal, const float* stretch, const float* noise,
            float* mean, float* variance, int tasks, int queries, int slots, int columns, int outputs, float jitter) {
    extern __shared__ float shared[];
    float* matrix = shared;
    float* stage = matrix + (slots + 1) * (slots + 2) / 2 + outputs * slots;  // [STAGE][n+1] columns of rows and query
    int* slot_of = (int*)(stage + STAGE * (slots + 1));                       // [n]

    for (long long unit = blockIdx.x; unit < (long long)tasks * queries; unit += gridDim.x) {
        const long long task = unit / queries;
        const float* my_rows = kept_x + unit * slots * columns;
        const float rough = signal[2 * task], smooth = signal[2 * task + 1], decay = -0.5f * stretch[task];
        const float prior = rough + smooth, added = noise[task] + jitter * prior;
        const int n = list_occupied(distance + unit * slots, slots, slot_of);
        __syncthreads();

        for (int first = 0; first < columns; first += STAGE) {
            const int width = columns - first < STAGE ? columns - first : STAGE;
            for (int e = threadIdx.x; e < width * (n + 1); e += blockDim.x) {
                const int i = e / width, d = first + e % width;
                stage[(e % width) * (n + 1) + i] = i < n ? my_rows[slot_of[i] * columns + d] : query[unit * columns + d];
            }
            __syncthreads();
            for (int i = threadIdx.x; i <= n; i += blockDim.x) {
                float* row = matrix + row_start(i, n);
                for (int k = 0; k < i; ++k) {
                    float total = first == 0 ? 0.0f : row[k];
                    for (int c = 0; c < width; ++c) {
                        const float delta = stage[c * (n + 1) + i] - stage[c * (n + 1) + k];
                        total += relevance[task * columns + first + c] * delta * delta;
                    }
                    row[k] = total;
                }
            }
            __syncthreads();
        }

        for (int i = threadIdx.x; i <= n + outputs; i += blockDim.x) {
            float* row = matrix + row_start(i, n);
            if (i <= n) {
                for (int k = 0; k < i; ++k) row[k] = rough * expf(-sqrtf(row[k])) + smooth * expf(decay * row[k]);
                row[i] = i < n ? prior + added : prior;
            } else {
                for (int k = 0; k < n; ++k) row[k] = residual[(unit * slots + slot_of[k]) * outputs + i - n - 1];
            }
        }
        __syncthreads();

        // Every thread sums up the pivot beside its own entry, from the same loads: one barrier per column. In exact
        // arithmetic no pivot is below `added`; holding it there keeps rounding from breaking the factorisation.
        for (int j = 0; j <= n; ++j) {
            const float* pivot_row = matrix + row_start(j, n);
            for (int i = j + threadIdx.x; i <= n + outputs; i += blockDim.x) {
                float* row = matrix + row_start(i, n);
                float own = 0.0f, squares = 0.0f;
                for (int k = 0; k < j; ++k) {
                    own += row[k] * pivot_row[k];
                    squares += pivot_row[k] * pivot_row[k];
                }
                const float pivot = pivot_row[j] - squares;
                if (j < n) {
                    if (i > j) row[j] = (row[j] - own) / sqrtf(fmaxf(pivot, added));
                } else if (i == n) {
                    variance[unit] = fmaxf(pivot, 0.0f);
                } else {
                    mean[unit * outputs + i - n - 1] = own;
                }
            }
            __syncthreads();
        }
    }
}
