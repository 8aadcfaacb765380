#pragma once

#include "cli/session.hpp"

namespace CLI {
class App;
}

namespace minions::cli {

/// Each adds its subcommand to the program and, where that one is chosen, sets session.run.
void add_serve(CLI::App& program, Session& session);
void add_create(CLI::App& program, Session& session);
void add_list(CLI::App& program, Session& session);
void add_get(CLI::App& program, Session& session);
void add_status(CLI::App& program, Session& session);
void add_exec(CLI::App& program, Session& session);
void add_logs(CLI::App& program, Session& session);
void add_lifecycle(CLI::App& program, Session& session);  ///< start stop restart pause resume
void add_resize(CLI::App& program, Session& session);
void add_rename(CLI::App& program, Session& session);
void add_copy(CLI::App& program, Session& session);
void add_snapshot(CLI::App& program, Session& session);
void add_destroy(CLI::App& program, Session& session);
void add_deploy(CLI::App& program, Session& session);
void add_deployments(CLI::App& program, Session& session);
void add_image(CLI::App& program, Session& session);
void add_events(CLI::App& program, Session& session);
void add_plugins(CLI::App& program, Session& session);
void add_token(CLI::App& program, Session& session);
void add_config(CLI::App& program, Session& session);
void add_openapi(CLI::App& program, Session& session);
void add_failpoints(CLI::App& program, Session& session);  ///< hidden

/// Parses the arguments and does what they say. Returns the exit code; throws nothing.
int main(const std::vector<std::string>& arguments, Console console);

}  // namespace minions::cli
