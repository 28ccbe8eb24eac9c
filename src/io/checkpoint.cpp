#include "tangram/io/checkpoint.hpp"

#include <fmt/format.h>

#include <bit>

#include "tangram/files/hash.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/io/output.hpp"
#include "tangram/random.hpp"

namespace tangram {

namespace {

std::filesystem::path checkpoint_of(const std::filesystem::path& output) { return output.string() + ".checkpoint"; }
std::filesystem::path previous_of(const std::filesystem::path& output) {
    return output.string() + ".checkpoint.previous";
}

/// Of the entries' bits and places, whatever the layout: a sum modulo 2^64. Collective over the matrix' grid.
Index checksum(const DistributedMatrix& matrix) {
    std::uint64_t sum = 0;
    for (Index j = 0; j < matrix.local_columns(); ++j) {
        const Index column = matrix.global_column(j) * matrix.rows();
        for (Index i = 0; i < matrix.local_rows(); ++i)
            sum += random::mixed(std::bit_cast<std::uint64_t>(matrix.data()[i + j * matrix.lld()]) ^
                                 random::mixed(static_cast<std::uint64_t>(column + matrix.global_row(i))));
    }
    std::uint64_t all = 0;
    TANGRAM_MPI(MPI_Allreduce(&sum, &all, 1, MPI_UINT64_T, MPI_SUM, matrix.grid().comm().get()));
    return static_cast<Index>(all);
}

std::string checksum(const CheckpointState& state) {
    std::string text = fmt::format("{}:{} {}", state.inputs.size(), state.inputs, state.units_done);
    for (const auto& [name, values] : state.vectors)
        text += fmt::format(" {} {}", name, sha256_of_bytes(std::as_bytes(std::span(values))));
    return sha256_of_bytes(std::as_bytes(std::span(text)));
}

/// The small part of a checkpoint. Collective. @throws Error(output) where it is torn
CheckpointState read_state(const InputFile& file) {
    CheckpointState state;
    state.inputs = file.read([](const Hdf5File& h5) { return h5.text_attribute("/", "inputs"); });
    state.units_done = file.read([](const Hdf5File& h5) { return h5.integer_attribute("/", "units_done"); });
    const auto names = file.read([](const Hdf5File& h5) {
        return h5.exists("/vectors") ? h5.children("/vectors") : std::vector<std::string>{};
    });
    for (const std::string& vector : names)
        state.vectors[vector] = file.read([&](const Hdf5File& h5) { return h5.read_doubles("/vectors/" + vector); });
    if (file.read([](const Hdf5File& h5) { return h5.text_attribute("/", "checksum"); }) != checksum(state))
        throw Error(ExitStatus::output, fmt::format("{}: is torn: its numbers have another checksum than those that "
                                                    "were written", file.name().string()));
    return state;
}

void read_into(const InputFile& file, const std::string& name, DistributedMatrix& matrix) {
    const std::string path = "/matrices/" + name;
    DistributedMatrix found = file.read_matrix(path, matrix.grid(), matrix.block(), Orientation::transposed);
    if (matrix.rows() != found.rows() || matrix.columns() != found.columns())
        throw Error(ExitStatus::output, fmt::format("{}: {} is {} x {}, {} x {} is needed", file.name().string(), name,
                                                    found.rows(), found.columns(), matrix.rows(), matrix.columns()));
    if (file.read([&](const Hdf5File& h5) { return h5.integer_attribute(path, "checksum"); }) != checksum(found))
        throw Error(ExitStatus::output, fmt::format("{}: is torn: {} has another checksum than when it was written",
                                                    file.name().string(), name));
    matrix = std::move(found);
}

/// The first rank's view counts: on a shared file system another may see the folder a moment later. Collective.
bool is_there(const std::filesystem::path& file, MPI_Comm comm) {
    int rank = 0;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    std::error_code code;
    return any_rank(comm, rank == 0 && std::filesystem::exists(file, code));
}

}  // namespace

void write_checkpoint(const std::filesystem::path& output, const CheckpointState& state,
                      const std::map<std::string, const DistributedMatrix*>& matrices) {
    const MPI_Comm comm = matrices.begin()->second->grid().comm().get();
    double bytes = 0;
    std::map<std::string, Index> checksums;
    for (const auto& [name, matrix] : matrices) {
        bytes += 8.0 * static_cast<double>(matrix->rows()) * static_cast<double>(matrix->columns());
        checksums[name] = checksum(*matrix);
    }
    StagedFile file(comm, checkpoint_of(output), false, bytes);
    file.write_small([&](Hdf5File& h5) {
        h5.set_attribute("/", "inputs", state.inputs);
        h5.set_attribute("/", "units_done", state.units_done);
        h5.set_attribute("/", "checksum", checksum(state));
        for (const auto& [name, values] : state.vectors) h5.write("/vectors/" + name, values);
        // Transposed: local storage is column-major, so nothing is copied.
        for (const auto& [name, matrix] : matrices) {
            h5.create_matrix("/matrices/" + name, matrix->columns(), matrix->rows());
            h5.set_attribute("/matrices/" + name, "checksum", checksums.at(name));
        }
    });
    for (const auto& [name, matrix] : matrices)
        write_matrix(file.partial(), "/matrices/" + name, *matrix, Orientation::transposed);
    file.commit(previous_of(output));
}

std::optional<ReadCheckpoint> read_checkpoint(const std::filesystem::path& output,
                                              const std::map<std::string, DistributedMatrix*>& matrices,
                                              const std::function<void(const CheckpointState&)>& accept) {
    const MPI_Comm comm = matrices.begin()->second->grid().comm().get();
    std::string torn;
    for (const auto& name : {checkpoint_of(output), previous_of(output)}) {
        if (!is_there(name, comm)) continue;
        std::optional<CheckpointState> state;
        try {
            const InputFile file(comm, name, ExitStatus::output);
            state = read_state(file);
        } catch (const Error& e) {
            if (e.status() != ExitStatus::output) throw;
            torn += (torn.empty() ? "" : "; ") + std::string(e.what());
            continue;
        }
        accept(*state);
        try {
            const InputFile file(comm, name, ExitStatus::output);
            for (const auto& [matrix, to] : matrices) read_into(file, matrix, *to);
        } catch (const Error& e) {
            if (e.status() != ExitStatus::output) throw;
            torn += (torn.empty() ? "" : "; ") + std::string(e.what());
            continue;
        }
        return ReadCheckpoint{std::move(*state), torn};
    }
    if (!torn.empty())
        throw Error(ExitStatus::output, fmt::format("{}; delete {}* to start again", torn, checkpoint_of(output).string()));
    return std::nullopt;
}

void remove_checkpoint(const std::filesystem::path& output, MPI_Comm comm) {
    collectively(comm, [&] {
        int rank = 0;
        TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
        if (rank != 0) return;
        for (const auto& name : {checkpoint_of(output), previous_of(output)}) {
            std::error_code code;
            if (!std::filesystem::remove(name, code) && code)
                throw Error(ExitStatus::output, fmt::format("{}: cannot be removed ({})", name.string(), code.message()));
        }
    });
}

}  // namespace tangram
