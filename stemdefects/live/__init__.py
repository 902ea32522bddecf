"""At the microscope: frames as they come, calls at once, the table of an offline run at the end."""
