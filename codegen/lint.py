def run(plan, repository, cuda_home):
    return []
