#include "tangram/jacobian/selection.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include "tangram/error.hpp"
#include "tangram/files/nearest.hpp"

namespace tangram {

std::vector<ParameterId> select_parameters(const Program& program, const std::vector<std::string>& patterns) {
    const std::vector<Parameter>& parameters = program.parameters();
    std::vector<bool> selected(parameters.size(), false);
    for (const std::string& pattern : patterns) {
        bool any = false;
        for (ParameterId p = 0; p < parameters.size(); ++p) {
            const bool match = pattern == "all" || pattern == name(parameters[p].kind) ||
                               fnmatch(pattern.c_str(), parameters[p].name.c_str(), 0) == 0;
            if (match) selected[p] = any = true;
        }
        if (!any) {
            std::vector<std::string> names{"all", "attention", "mlp", "norm", "embedding", "head"};
            for (const Parameter& parameter : parameters) names.push_back(parameter.name);
            throw Error(
                ExitStatus::study,
                fmt::format("kernel.parameters: \"{}\" selects no tensor of this model; nearest is \"{}\"",
                            pattern, nearest(pattern, names)));
        }
    }
    std::vector<ParameterId> ids;
    for (ParameterId p = 0; p < parameters.size(); ++p)
        if (selected[p]) ids.push_back(p);
    if (ids.empty())
        throw Error(ExitStatus::study, "kernel.parameters is empty; name at least one pattern or \"all\"");
    return ids;
}

}  // namespace tangram
