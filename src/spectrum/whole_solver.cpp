#include "tangram/spectrum/whole_solver.hpp"

namespace tangram {

namespace {

WholeSolver*& registered() {
    static WholeSolver* solver = nullptr;
    return solver;
}

}  // namespace

RegisteredWholeSolver::RegisteredWholeSolver(WholeSolver& solver) { registered() = &solver; }

RegisteredWholeSolver::~RegisteredWholeSolver() { registered() = nullptr; }

WholeSolver* registered_whole_solver() { return registered(); }

double planned_whole_solver_bytes(Index n, bool vectors) {
    const auto order = static_cast<double>(n);
    constexpr double panels = 256;
    return 8 * ((vectors ? 3 : 1) * order * order + panels * order);
}

}  // namespace tangram
