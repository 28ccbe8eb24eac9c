#include "tangram/jacobian/formula.hpp"

#include <fmt/core.h>

#include "tangram/error.hpp"

namespace tangram {

std::string name(Formula formula) {
    switch (formula) {
        case Formula::sgd:
            return "sgd";
        case Formula::signgd:
            return "signgd";
        case Formula::asymmetric_signgd:
            return "asymmetric-signgd";
    }
    return "";
}

Formula formula_by_name(std::string_view name) {
    for (const Formula formula : {Formula::sgd, Formula::signgd, Formula::asymmetric_signgd})
        if (name == tangram::name(formula)) return formula;
    throw Error(ExitStatus::study, ErrorKind::unknown_name,
                fmt::format("kernel.formula = \"{}\" is not possible; use \"sgd\", \"signgd\" or "
                            "\"asymmetric-signgd\"",
                            name));
}

}  // namespace tangram
