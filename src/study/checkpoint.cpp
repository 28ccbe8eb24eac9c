#include "checkpoint.hpp"

#include "tangram/io/matrix_io.hpp"
#include "tangram/io/output.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {

GramCheckpoint::GramCheckpoint(const std::filesystem::path& output, std::string inputs)
    : file_(output.string() + ".checkpoint"), inputs_(std::move(inputs)) {}

void GramCheckpoint::write(const KernelMatrices& matrices) const {
    const MPI_Comm comm = matrices.gram.grid().comm().get();
    const Index n = matrices.gram.rows(), m = matrices.cross ? matrices.cross->rows() : 0;
    // Between units a row of the diagonal stands on one rank, zero elsewhere: the sum is exact.
    std::vector<double> diagonal = matrices.test_diagonal;
    sum_over_ranks(comm, diagonal);
    StagedFile file(comm, file_, false, 8.0 * static_cast<double>(n) * static_cast<double>(n + m));
    file.write_small([&](Hdf5File& h5) {
        h5.set_attribute("/", "inputs", inputs_);
        h5.set_attribute("/", "units_done", matrices.units_done);
        h5.write("/traces", matrices.traces);
        if (m > 0) h5.write("/test_diagonal", diagonal);
        h5.create_matrix("/gram", n, n);
        if (m > 0) h5.create_matrix("/cross", n, m);
    });
    write_matrix(file.partial(), "/gram", matrices.gram, Orientation::transposed);
    if (m > 0) write_matrix(file.partial(), "/cross", *matrices.cross, Orientation::transposed);
    file.commit();
}

bool GramCheckpoint::read(KernelMatrices& matrices) const {
    const ProcessGrid& grid = matrices.gram.grid();
    const MPI_Comm comm = grid.comm().get();
    std::vector<Index> units{-1};
    collectively(comm, [&] {
        std::error_code code;
        if (grid.comm().rank() != 0 || !std::filesystem::exists(file_, code)) return;
        try {
            const Hdf5File h5 = Hdf5File::open(file_, false, ExitStatus::output);
            if (h5.text_attribute("/", "inputs") != inputs_) return;
            matrices.traces = h5.read_doubles("/traces");
            if (matrices.cross) matrices.test_diagonal = h5.read_doubles("/test_diagonal");
            units[0] = static_cast<Index>(h5.number_attribute("/", "units_done"));
        } catch (const Error& e) {
            throw Error(ExitStatus::output, std::string(e.what()) + "; delete the checkpoint to start again");
        }
    });
    broadcast(comm, units, 0);
    if (units[0] < 0) return false;
    broadcast(comm, matrices.traces, 0);
    broadcast(comm, matrices.test_diagonal, 0);
    const Index block = matrices.gram.block();
    matrices.gram = read_matrix(file_, "/gram", grid, block, Orientation::transposed, ExitStatus::output);
    if (matrices.cross)
        matrices.cross = read_matrix(file_, "/cross", grid, block, Orientation::transposed, ExitStatus::output);
    matrices.units_done = units[0];
    return true;
}

void GramCheckpoint::remove() const {
    std::error_code code;
    std::filesystem::remove(file_, code);
}

}  // namespace tangram
