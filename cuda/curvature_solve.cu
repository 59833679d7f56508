// curvature_solve: the direction (C + diag(damping))^-1 g of every task, by Cholesky factorisation.
//
//   A task whose matrix is not positive definite gets NaN.
//
//   second [T,S,S], of which the upper triangle is read  damping [T,S]  gradient [T,S,O]
//   direction [T,S,O]
//   tasks T  state S, at most 64  outputs O
//
// Launch: any 1-D grid (blocks stride over the T tasks times (O + OUTPUTS - 1) / OUTPUTS), 1-D blocks of at most 128
//   threads, best one per row of the matrix (S + min(O, OUTPUTS)); shared memory 4 * (S*(S+1)/2 + (min(O, OUTPUTS)+1)*S)
//   bytes with OUTPUTS = 32.
// Reference: amortix.ops.curvature_solve, `definition`.
//
// One block per task and up to OUTPUTS right-hand sides. Rows of the lower triangle are packed: i*(i+1)/2 runs through
// all residues modulo 32 as i does, so threads reading column k of 32 rows hit 32 banks. The right-hand sides are further
// rows, so the left-looking factorisation leaves L^-1 g in them; then they are substituted from below.

#define OUTPUTS 32

extern "C" __global__ void __launch_bounds__(128)
curvature_solve(const float* second, const float* damping, const float* gradient, float* direction,
                int tasks, int state, int outputs) {
    extern __shared__ float shared[];
    const int chunks = (outputs + OUTPUTS - 1) / OUTPUTS, most = outputs < OUTPUTS ? outputs : OUTPUTS;
    float* matrix = shared;                          // [S*(S+1)/2]
    float* sides = matrix + state * (state + 1) / 2; // [min(O, OUTPUTS)][S]
    float* inverse = sides + most * state;           // [S] reciprocals of the diagonal of L

    for (long long unit = blockIdx.x; unit < (long long)tasks * chunks; unit += gridDim.x) {
        const long long task = unit / chunks;
        const int first = unit % chunks * OUTPUTS;
        const int width = outputs - first < OUTPUTS ? outputs - first : OUTPUTS;
        const float* my_gradient = gradient + task * state * outputs + first;
        float* my_direction = direction + task * state * outputs + first;
        for (int e = threadIdx.x; e < state * state; e += blockDim.x) {
            const int k = e / state, i = e % state;
            if (k > i) continue;
            const float added = k == i ? damping[task * state + i] : 0.0f;
            matrix[i * (i + 1) / 2 + k] = second[task * state * state + e] + added;
        }
        for (int e = threadIdx.x; e < state * width; e += blockDim.x) {
            sides[e % width * state + e / width] = my_gradient[e / width * outputs + e % width];
        }
        __syncthreads();

        // Every thread sums up the pivot beside its own entry, from the same loads: one barrier per column.
        for (int j = 0; j < state; ++j) {
            const float* pivot_row = matrix + j * (j + 1) / 2;
            for (int i = j + threadIdx.x; i < state + width; i += blockDim.x) {
                float* row = i < state ? matrix + i * (i + 1) / 2 : sides + (i - state) * state;
                float own = 0.0f, squares = 0.0f;
                for (int k = 0; k < j; ++k) {
                    own += row[k] * pivot_row[k];
                    squares += pivot_row[k] * pivot_row[k];
                }
                const float pivot = pivot_row[j] - squares;
                const float root = pivot > 0.0f ? 1.0f / sqrtf(pivot) : nanf("");
                if (i == j) {
                    inverse[j] = root;
                } else {
                    row[j] = (row[j] - own) * root;
                }
            }
            __syncthreads();
        }

        for (int k = state - 1; k > 0; --k) {
            const float* row = matrix + k * (k + 1) / 2;
            for (int e = threadIdx.x; e < k * width; e += blockDim.x) {
                float* side = sides + e / k * state;
                side[e % k] -= row[e % k] * (side[k] * inverse[k]);
            }
            __syncthreads();
        }
        for (int e = threadIdx.x; e < state * width; e += blockDim.x) {
            const int i = e / width;
            my_direction[i * outputs + e % width] = sides[e % width * state + i] * inverse[i];
        }
        __syncthreads();
    }
}
