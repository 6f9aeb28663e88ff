"""What people read in place of a recipe's words."""

METHODS = {"full": "전체 미세조정", "lora": "LoRA", "qlora": "QLoRA"}
COUNTED = {"answer": "답만", "all": "질문까지"}
VARIANTS = {"default": "우리 설정", "original": "원래 팀의 설정"}
COMMERCIAL = {True: "됨", False: "안 됨", None: "밝혀지지 않음"}
