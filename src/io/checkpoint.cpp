#include "tangram/io/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "tangram/files/hash.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/io/output.hpp"

namespace tangram {

namespace {

std::filesystem::path checkpoint_of(const std::filesystem::path& output) {
    return output.string() + ".checkpoint";
}
std::filesystem::path previous_of(const std::filesystem::path& output) {
    return output.string() + ".checkpoint.previous";
}

/// On the first rank. Collective over comm. @throws Error(output) where one cannot be removed
void remove(const std::vector<std::filesystem::path>& files, MPI_Comm comm) {
    collectively(comm, [&] {
        int rank = 0;
        TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
        if (rank != 0) return;
        for (const auto& name : files) {
            std::error_code code;
            if (!std::filesystem::remove(name, code) && code)
                throw Error(ExitStatus::output, ErrorKind::no_access,
                            fmt::format("{}: cannot be removed ({})", name.string(), code.message()));
        }
    });
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
        state.vectors[vector] =
            file.read([&](const Hdf5File& h5) { return h5.read_doubles("/vectors/" + vector); });
    if (file.read([](const Hdf5File& h5) { return h5.text_attribute("/", "checksum"); }) != checksum(state))
        throw Error(ExitStatus::output, ErrorKind::malformed,
                    fmt::format("{}: is torn: its numbers have another checksum than those that "
                                "were written",
                                file.name().string()));
    return state;
}

void read_whole(const InputFile& file, const std::string& name, DistributedMatrix& matrix) {
    const std::string path = "/matrices/" + name;
    std::vector<Index> shape = file.read([&](const Hdf5File& h5) { return h5.shape(path); });
    std::ranges::reverse(shape);  // it stands there transposed
    if (shape != std::vector<Index>{matrix.rows(), matrix.columns()})
        throw Error(ExitStatus::output, ErrorKind::contradiction,
                    fmt::format("{}: {} is {}, {} x {} is needed", file.name().string(), name,
                                fmt::join(shape, " x "), matrix.rows(), matrix.columns()));
    file.read_into(path, matrix, Orientation::transposed);
}

/// Whether a file's contents are not what was written. One that cannot be read now (another process has it
/// open, a disk's or a network's failure) may be whole.
bool is_damage(const Error& e) {
    return e.status() == ExitStatus::output && e.kind() != ErrorKind::in_use &&
           e.kind() != ErrorKind::no_access;
}

/// On the first rank. Collective over comm. @throws Error(output)
void rename(const std::filesystem::path& from, const std::filesystem::path& to, MPI_Comm comm) {
    collectively(comm, [&] {
        int rank = 0;
        TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
        if (rank != 0) return;
        std::error_code code;
        std::filesystem::rename(from, to, code);
        if (code)
            throw Error(
                ExitStatus::output, ErrorKind::no_access,
                fmt::format("{}: cannot be renamed to {} ({})", from.string(), to.string(), code.message()));
    });
}

/// The first rank's view counts: on a shared file system another may see the folder a moment later.
/// Collective.
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
    for (const auto& [name, matrix] : matrices)
        bytes += 8.0 * static_cast<double>(matrix->rows()) * static_cast<double>(matrix->columns());
    StagedFile file(comm, checkpoint_of(output), false, bytes);
    file.write_small([&](Hdf5File& h5) {
        h5.set_attribute("/", "inputs", state.inputs);
        h5.set_attribute("/", "units_done", state.units_done);
        h5.set_attribute("/", "checksum", checksum(state));
        for (const auto& [name, values] : state.vectors) h5.write("/vectors/" + name, values);
        // Transposed: local storage is column-major, so nothing is copied.
        for (const auto& [name, matrix] : matrices)
            h5.create_matrix("/matrices/" + name, matrix->columns(), matrix->rows());
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
            if (!is_damage(e)) throw;
            torn += (torn.empty() ? "" : "; ") + std::string(e.what());
            continue;
        }
        accept(*state);
        try {
            const InputFile file(comm, name, ExitStatus::output);
            for (const auto& [matrix, to] : matrices) read_whole(file, matrix, *to);
        } catch (const Error& e) {
            if (!is_damage(e)) throw;
            torn += (torn.empty() ? "" : "; ") + std::string(e.what());
            continue;
        }
        // In place of the torn one, with which the next checkpoint would push this one out.
        if (!torn.empty()) rename(name, checkpoint_of(output), comm);
        return ReadCheckpoint{std::move(*state), torn};
    }
    if (!torn.empty())
        throw Error(ExitStatus::output, ErrorKind::malformed,
                    fmt::format("{}; delete {}* to start again", torn, checkpoint_of(output).string()));
    return std::nullopt;
}

std::optional<std::string> checkpoint_inputs(const std::filesystem::path& output, MPI_Comm comm) {
    for (const auto& name : {checkpoint_of(output), previous_of(output)}) {
        if (!is_there(name, comm)) continue;
        try {
            return read_state(InputFile(comm, name, ExitStatus::output)).inputs;
        } catch (const Error& e) {
            if (e.status() != ExitStatus::output) throw;  // torn
        }
    }
    return std::nullopt;
}

void remove_previous_checkpoint(const std::filesystem::path& output, MPI_Comm comm) {
    remove({previous_of(output)}, comm);
}

void remove_checkpoint(const std::filesystem::path& output, MPI_Comm comm) {
    // The newest last: a death in between leaves what can still be recognised.
    collectively(comm, [&] {
        int rank = 0;
        TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
        if (rank == 0) remove_partial(checkpoint_of(output).string() + ".partial");
    });
    remove({previous_of(output), checkpoint_of(output)}, comm);
}

}  // namespace tangram
