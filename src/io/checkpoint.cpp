#include "tangram/io/checkpoint.hpp"

#include <fmt/format.h>

#include "tangram/io/input_file.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/io/output.hpp"

namespace tangram {

namespace {

std::filesystem::path checkpoint_of(const std::filesystem::path& output) { return output.string() + ".checkpoint"; }

/// Runs a collective reading; its failure says what to do about it.
template <class Read>
auto reading(Read read) {
    try {
        return read();
    } catch (const Error& e) {
        throw Error(ExitStatus::output, fmt::format("{}; delete the checkpoint to start again", e.what()));
    }
}

}  // namespace

void write_checkpoint(const std::filesystem::path& output, const CheckpointState& state,
                      const std::map<std::string, const DistributedMatrix*>& matrices) {
    double bytes = 0;
    for (const auto& [name, matrix] : matrices)
        bytes += 8.0 * static_cast<double>(matrix->rows()) * static_cast<double>(matrix->columns());
    StagedFile file(matrices.begin()->second->grid().comm().get(), checkpoint_of(output), false, bytes);
    file.write_small([&](Hdf5File& h5) {
        h5.set_attribute("/", "fingerprint", state.fingerprint);
        h5.set_attribute("/", "units_done", state.units_done);
        for (const auto& [name, values] : state.vectors) h5.write("/vectors/" + name, values);
        // Transposed: local storage is column-major, so nothing is copied.
        for (const auto& [name, matrix] : matrices)
            h5.create_matrix("/matrices/" + name, matrix->columns(), matrix->rows());
    });
    for (const auto& [name, matrix] : matrices)
        write_matrix(file.partial(), "/matrices/" + name, *matrix, Orientation::transposed);
    file.commit();
}

std::optional<CheckpointState> read_checkpoint(const std::filesystem::path& output, MPI_Comm comm) {
    const auto name = checkpoint_of(output);
    // The first rank's view counts: on a shared file system another may see the folder a moment later.
    std::vector<Index> there = collectively(comm, [&] {
        std::error_code code;
        return std::vector<Index>{std::filesystem::exists(name, code) ? 1 : 0};
    });
    broadcast(comm, there, 0);
    if (there[0] == 0) return std::nullopt;
    return reading([&] {
        const InputFile file(comm, name, ExitStatus::output);
        CheckpointState state;
        state.fingerprint = file.read([](const Hdf5File& h5) { return h5.text_attribute("/", "fingerprint"); });
        state.units_done = file.read([](const Hdf5File& h5) { return h5.integer_attribute("/", "units_done"); });
        const auto names = file.read([](const Hdf5File& h5) {
            return h5.exists("/vectors") ? h5.children("/vectors") : std::vector<std::string>{};
        });
        for (const std::string& vector : names)
            state.vectors[vector] = file.read([&](const Hdf5File& h5) { return h5.read_doubles("/vectors/" + vector); });
        return state;
    });
}

DistributedMatrix read_checkpoint_matrix(const std::filesystem::path& output, const std::string& name,
                                         const ProcessGrid& grid, Index rows, Index columns, Index block) {
    return reading([&] {
        const auto file = checkpoint_of(output);
        const std::string path = "/matrices/" + name;
        DistributedMatrix matrix = read_matrix(file, path, grid, block, Orientation::transposed, ExitStatus::output);
        if (matrix.rows() != rows || matrix.columns() != columns)
            throw Error(ExitStatus::output, fmt::format("{}: {} is {} x {}, {} x {} is needed", file.string(), name,
                                                        matrix.rows(), matrix.columns(), rows, columns));
        return matrix;
    });
}

void remove_checkpoint(const std::filesystem::path& output, MPI_Comm comm) {
    collectively(comm, [&] {
        int rank = 0;
        TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
        std::error_code code;
        if (rank == 0 && !std::filesystem::remove(checkpoint_of(output), code) && code)
            throw Error(ExitStatus::output, fmt::format("{}: cannot be removed ({})", checkpoint_of(output).string(),
                                                        code.message()));
    });
}

}  // namespace tangram
