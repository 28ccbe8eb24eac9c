#pragma once

/// The matrix products of BLAS through its Fortran interface, which every BLAS has (FindBLAS decides which).
extern "C" {
void sgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
            const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
            const float* beta, float* c, const int* ldc);
void dgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
            const double* alpha, const double* a, const int* lda, const double* b, const int* ldb,
            const double* beta, double* c, const int* ldc);
}

namespace tangram {

/// C = op(A) op(B), column-major, op(A) m x k, op(B) k x n; C is overwritten. Local.
inline void gemm(char transa, char transb, int m, int n, int k, const float* a, int lda, const float* b,
                 int ldb, float* c, int ldc) {
    const float one = 1, zero = 0;
    sgemm_(&transa, &transb, &m, &n, &k, &one, a, &lda, b, &ldb, &zero, c, &ldc);
}
inline void gemm(char transa, char transb, int m, int n, int k, const double* a, int lda, const double* b,
                 int ldb, double* c, int ldc) {
    const double one = 1, zero = 0;
    dgemm_(&transa, &transb, &m, &n, &k, &one, a, &lda, b, &ldb, &zero, c, &ldc);
}

}  // namespace tangram
