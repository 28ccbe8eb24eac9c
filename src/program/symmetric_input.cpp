#include "symmetric_input.hpp"

#include <fmt/core.h>

#include "tangram/arithmetic.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/study/inputs.hpp"

namespace tangram {

namespace {

struct NumberType {
    double resolution;
    const char* name;
    double tolerance;  ///< on the asymmetry, in units of the largest entry
};
constexpr NumberType number_types[] = {
    {0x1p-10, "half-precision", 1e-2}, {0x1p-23, "float32", 1e-4}, {0, "float64", symmetry_tolerance}};

const NumberType& type_of(double resolution) {
    for (const NumberType& type : number_types)
        if (type.resolution == resolution) return type;
    return *std::rbegin(number_types);
}

}  // namespace

SymmetricInput read_symmetric(const std::string& place, const ProcessGrid& grid, const Session& session) {
    const auto [file, path] = file_and_path(place);
    const MPI_Comm comm = grid.comm().get();
    SymmetricInput input{
        read_matrix({file, ExitStatus::input}, path, grid, arithmetic::tile_rows, Orientation::as_is),
        {fmt::format("{}: {}", file.string(), path), ExitStatus::input},
        false};
    const NumberType& type =
        type_of(InputFile(comm, file, ExitStatus::input).read([&, &at = path](const Hdf5File& h5) {
            return h5.resolution(at);
        }));
    input.rounded = type.resolution > 0;
    const double off = make_symmetric(input.matrix, type.tolerance, input.name);
    if (off > 0)
        session.log.warn(fmt::format(
            "{} is off symmetry by {:.1e} of its largest entry, which counts as rounding of {} (up to "
            "{:.0e}); the mean of it and its transpose is used",
            input.name.text, off, type.name, type.tolerance));
    return input;
}

void warn_indefinite(const SymmetricInput& input, const Eigenpairs& pairs, const Quality& checks,
                     const Session& session) {
    if (const std::string text = beyond_rounding(pairs.values, checks.rounding); !text.empty())
        session.log.warn(fmt::format("{} is no Gram matrix: {}", input.name.text, text));
}

}  // namespace tangram
