# `cmake --install`: the program, the libraries of the rooms, their headers, and find_package(tangram).
include(CMakePackageConfigHelpers)
set(rooms tangram_files tangram_parallel tangram_io tangram_text tangram_model tangram_jacobian tangram_gram
    tangram_spectrum tangram_rates tangram_learning tangram_training tangram_session tangram_study tangram_stages)
install(TARGETS tangram RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS tangram_flags ${rooms} EXPORT tangramTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/tangram DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/tangram)
install(EXPORT tangramTargets NAMESPACE tangram:: DESTINATION ${package_folder})
configure_package_config_file(tools/cmake/tangramConfig.cmake.in ${PROJECT_BINARY_DIR}/tangramConfig.cmake
    INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tangramConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tangramConfig.cmake ${PROJECT_BINARY_DIR}/tangramConfigVersion.cmake
    tools/cmake/FindScaLAPACK.cmake tools/cmake/dependencies.cmake DESTINATION ${package_folder})
