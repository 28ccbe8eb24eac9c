# `cmake --install`: the program with its manual page and completion, the scripts and studies beside it, the libraries of
# the rooms, their headers, and find_package(tangram).
include(CMakePackageConfigHelpers)
set(rooms tangram_files tangram_parallel tangram_io tangram_text tangram_model tangram_jacobian tangram_gram
    tangram_device tangram_spectrum tangram_rates tangram_learning tangram_training tangram_session tangram_study tangram_stages)
install(TARGETS tangram RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS tangram_flags ${rooms} EXPORT tangramTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/tangram DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/tangram)
install(EXPORT tangramTargets NAMESPACE tangram:: DESTINATION ${package_folder})
configure_package_config_file(tools/cmake/tangramConfig.cmake.in ${PROJECT_BINARY_DIR}/tangramConfig.cmake
    INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tangramConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tangramConfig.cmake ${PROJECT_BINARY_DIR}/tangramConfigVersion.cmake
    tools/cmake/FindScaLAPACK.cmake tools/cmake/one_mpi.cmake tools/cmake/dependencies.cmake DESTINATION ${package_folder})

# Scripts, studies and the data of those studies, placed to each other as in the sources.
set(shared ${CMAKE_INSTALL_DATADIR}/tangram)
install(DIRECTORY jobs DESTINATION ${shared} USE_SOURCE_PERMISSIONS PATTERN "*.h5*" EXCLUDE)
install(PROGRAMS tools/submit tools/plot DESTINATION ${shared}/tools)
install(FILES tools/environment DESTINATION ${shared}/tools)
install(DIRECTORY tools/python DESTINATION ${shared}/tools PATTERN "__pycache__" EXCLUDE PATTERN "*.egg-info" EXCLUDE)
foreach(data neo-mini bert-mini reviews topics)
  install(DIRECTORY tests/data/${data} DESTINATION ${shared}/tests/data)
endforeach()
file(RELATIVE_PATH from_programs "/${CMAKE_INSTALL_BINDIR}" "/${shared}/tools")
foreach(script plot submit)
  file(CREATE_LINK ${from_programs}/${script} ${PROJECT_BINARY_DIR}/tangram-${script} SYMBOLIC)
  install(FILES ${PROJECT_BINARY_DIR}/tangram-${script} DESTINATION ${CMAKE_INSTALL_BINDIR})
endforeach()
# Of the prefix that `cmake --install --prefix` gives.
install(CODE "
  set(PROJECT_VERSION ${PROJECT_VERSION})
  set(CMAKE_INSTALL_BINDIR ${CMAKE_INSTALL_BINDIR})
  set(CMAKE_INSTALL_MANDIR ${CMAKE_INSTALL_MANDIR})
  set(CMAKE_INSTALL_DATADIR ${CMAKE_INSTALL_DATADIR})
  configure_file(\"${PROJECT_SOURCE_DIR}/tools/packaging/modulefile.in\" \"${PROJECT_BINARY_DIR}/modulefile\" @ONLY)")
install(FILES ${PROJECT_BINARY_DIR}/modulefile DESTINATION ${shared} RENAME modulefile-${PROJECT_VERSION})

install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
install(FILES README.md CITATION.cff DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md" PATTERN "*.ipynb" PATTERN "*.svg")

# Of the program's own declarations, so that it is asked for them once it is built.
install(CODE "
  foreach(page \"man tangram.1\" \"completion tangram.bash\")
    separate_arguments(page)
    list(GET page 0 topic)
    list(GET page 1 name)
    execute_process(COMMAND \"$<TARGET_FILE:tangram>\" help \${topic} OUTPUT_FILE \"${PROJECT_BINARY_DIR}/\${name}\"
        RESULT_VARIABLE status)
    if(NOT status EQUAL 0)
      message(FATAL_ERROR \"tangram help \${topic} failed: \${status}\")
    endif()
  endforeach()")
install(FILES ${PROJECT_BINARY_DIR}/tangram.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${PROJECT_BINARY_DIR}/tangram.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
    RENAME tangram)

# `cpack -G DEB` in the build folder: a package of Debian for this machine's kind of processor.
set(CPACK_PACKAGE_NAME tangram)
set(CPACK_PACKAGE_CONTACT "The tangram developers <developers@tangram.invalid>")  # the project has no address
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "neural tangent kernels of pretrained transformers")
set(CPACK_PACKAGE_DESCRIPTION "Computes the exact empirical neural tangent kernel of a pretrained
transformer over a labelled data set, in parallel with MPI; its full
spectrum; and what the spectrum says about fine-tuning: how fast the
eigenvalues decay, when gradient descent should stop, and how the error
falls with the number of examples.")
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/tools/packaging/debian.cmake)
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "openmpi-bin, python3")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "python3-h5py, python3-matplotlib")
set(CPACK_DEBIAN_PACKAGE_SECTION science)
include(CPack)
